// A swtpm that serves one VM and does as it is told: fake-swtpm.ts <socket> <behaviour>.
import { libc } from "../../src/host/libc.ts";
import { waitReadable } from "../../src/host/poll.ts";
import { accept, listenAt, receive, send } from "../../src/host/unix-socket.ts";

const [, , path = "", behaviour = ""] = process.argv;
const GET_CAPABILITY = 1;
const INIT = 2;
const GET_ESTABLISHED = 4;
const SET_BUFFERSIZE = 17;
const CANCELED = 0x909;

/** 32-bit words, big-endian. */
function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  for (const [i, value] of values.entries()) new DataView(bytes.buffer).setUint32(4 * i, value);
  return bytes;
}

function response(code: number): Uint8Array {
  return Uint8Array.of(0x80, 0x01, ...words(10, code));
}

function answerTo(command: number): Uint8Array {
  if (command === GET_CAPABILITY) return words(0, behaviour === "old" ? 1 : 0xffff);
  if (command === INIT && behaviour === "refuses") return words(9);
  if (command === GET_ESTABLISHED) return words(0, 0);
  return command === SET_BUFFERSIZE ? words(0, 3968, 3968, 3968) : words(0);
}

const listener = listenAt(path, 1);
console.log("READY");
waitReadable(listener, -1);
const control = accept(listener);
if (control === undefined) throw new Error("nobody connects");
let data = -1;

/** Takes a request and answers it. @returns whether there was one */
function serveRequest(): boolean {
  waitReadable(control ?? -1, -1);
  const request = receive(control ?? -1);
  if (request === undefined || request.bytes.length === 0) return false;
  data = request.fds[0] ?? data;
  const command = new DataView(request.bytes.buffer, request.bytes.byteOffset).getUint32(0);
  if (behaviour === "hangs-up") process.exit();
  send(control ?? -1, answerTo(command));
  return command !== GET_ESTABLISHED;
}

function takeCommand(): boolean {
  return (receive(data, true)?.bytes.length ?? 0) > 0;
}

while (serveRequest());
if (data >= 0 && takeCommand()) {
  send(data, response(behaviour === "tpm-1.2" ? 0x1e : 0));
  if (takeCommand()) {
    if (behaviour === "cancellable" && serveRequest()) send(data, response(CANCELED));
    if (behaviour === "talks") send(data, Uint8Array.of(...response(0), ...response(0)));
    if (behaviour === "garbage") send(data, new Uint8Array(64).fill(0xff));
    if (behaviour === "long") send(data, new Uint8Array(8192));
    if (behaviour === "cut") {
      send(data, response(0).subarray(0, 7));
      libc.close(data);
    }
  }
}
while (serveRequest());
