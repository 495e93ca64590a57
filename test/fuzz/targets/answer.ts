import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiClient, ApiConnectionError } from "../../../src/api/client/api-client.ts";
import { refusalOf } from "../../../src/cli/ch-remote/refusal.ts";
import { identityOf, usesOf } from "../../../src/cli/ch-remote/top/answers.ts";
import { frame } from "../../../src/cli/ch-remote/top/frame.ts";
import { widthOf } from "../../../src/cli/ch-remote/top/line.ts";
import { parseMetrics } from "../../../src/cli/ch-remote/top/metrics-text.ts";
import { viewOf } from "../../../src/cli/ch-remote/top/rates.ts";
import { sampleOf } from "../../../src/cli/ch-remote/top/sample.ts";
import { errorDebugText, failureText } from "../../../src/cli/error-chain.ts";
import { libc } from "../../../src/host/libc.ts";
import { accept, endSending, listenAt, send } from "../../../src/host/unix-socket.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { tolerate } from "../support/tolerate.ts";

const STATUSES: readonly [number, ...number[]] = [200, 204, 400, 404, 429, 500, 501, 418, 999];

/** Asks a server that has answered already. */
function ask(listener: number, path: string, answer: Uint8Array): ReturnType<ApiClient["request"]> {
  const client = new ApiClient(path);
  const server = accept(listener);
  try {
    if (server === undefined) throw new Error("no connection");
    if (send(server, answer) !== answer.length) throw new Error("an answer that the socket does not take at once");
    endSending(server);
    return client.request({ method: "GET", endpoint: "vm.info" });
  } finally {
    client.close();
    if (server !== undefined) libc.close(server);
  }
}

function askForAny(listener: number, path: string, input: Input): void {
  tolerate([ApiConnectionError], () => {
    const { error } = refusalOf(ask(listener, path, input.rest()));
    failureText(error);
    errorDebugText(error);
  });
}

function askForWhole(listener: number, path: string, input: Input): void {
  const status = input.pick(STATUSES);
  const early = input.bool() ? "HTTP/1.1 100 \r\n\r\n" : "";
  const body = input.text();
  const head = `${early}HTTP/1.1 ${status} Reason\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  const reply = ask(listener, path, Buffer.from(head + body));
  if (reply.status !== status || reply.body !== body) throw new Error(`${JSON.stringify(reply)} for ${head}${body}`);
  const { error, remark } = refusalOf(reply);
  if (!failureText(error).includes(String(status))) throw new Error("a failure that does not tell its status");
  if (remark !== "" && remark !== body) throw new Error(`the remark ${remark}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

/** What `ch-remote top` shows of what a VMM tells. */
function show(input: Input): void {
  const canvas = { columns: input.u8(), rows: input.u8(), unicode: input.bool() };
  const [metrics = "", earlier = "", ping = "", info = ""] = input.text().split("\f");
  const context = { nowSeconds: 2e9, waits: new Map([["vcpu0", 1]]), uses: usesOf(parsed(info)) };
  tolerate([ApiConnectionError], () => {
    const identity = ping === "" ? { pid: 1, version: "1" } : identityOf(parsed(ping));
    const before = sampleOf(parseMetrics(earlier), { ...context, ...identity, atMs: 1000 });
    const now = sampleOf(parseMetrics(metrics), { ...context, ...identity, atMs: 2000 });
    const lines = frame(viewOf(now, before), canvas);
    if (lines.length > canvas.rows) throw new Error(`${lines.length} lines on ${canvas.rows}`);
    for (const line of lines) {
      if (widthOf(line) > canvas.columns) throw new Error(`${widthOf(line)} columns on ${canvas.columns}`);
      const text = line.map((span) => span.text).join("");
      if (/\p{Cc}/u.test(text)) throw new Error(`the terminal is steered: ${JSON.stringify(text)}`);
    }
  });
}

const METRICS =
  'cloud_hypervisor_vm_state{state="running"} 1\ncloud_hypervisor_vm_memory_bytes 1e9\n' +
  'cloud_hypervisor_thread_cpu_seconds_total{thread="vcpu0"} 3\ncloud_hypervisor_vcpu_exits_total{vcpu="0"} 7\n' +
  'cloud_hypervisor_block_reads_total{device="d"} 4\ncloud_hypervisor_net_sent_bytes_total{device="n"} 4\n';

export const target: FuzzTarget = {
  what: "what a server answers to ch-remote, and what its top shows of it",
  maxBytes: 4096,
  dictionary: [
    "HTTP/1.1 200 \r\n",
    "HTTP/1.0 500 Internal Server Error\r\n",
    "HTTP/1.1 100 \r\n\r\n",
    "Content-Length: ",
    "4294967296",
    "\r\n\r\n",
    '["a","b"]',
    "[",
    '{"pid":1,"version":"54.0.0"}',
    '{"config":{"disks":[{"id":"d","path":"/d"}],"net":[{"id":"n","tap":"t"}]}}',
    "\f",
    '"constructor"',
    "__proto__",
    "cloud_hypervisor_vm_state{state=",
    "cloud_hypervisor_thread_cpu_seconds_total{thread=",
    "} 1\n",
    "1e308",
    "-1",
    '\\"',
    "\x1b[2J",
  ],
  seeds: () => [
    "\0HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}",
    '\0HTTP/1.1 500 \r\nContent-Length: 9\r\n\r\n["a","b"]',
    '\x01\x05\x01["a","b"]',
    `\x02\x50\x18\0${METRICS}\f${METRICS.replaceAll(" 4", " 2")}\f{"pid":1,"version":"54.0.0"}\f{"config":{"disks":[{"id":"d","path":"/d"}]}}`,
    '\x02\x50\x18\x01cloud_hypervisor_vm_state{state="constructor"} 1\n',
  ],
  open: () => {
    const path = join(mkdtempSync(join(tmpdir(), "answer-")), "s");
    const listener = listenAt(path, 4);
    return (input) => {
      const mode = input.u8() % 3;
      if (mode === 0) askForAny(listener, path, input);
      else if (mode === 1) askForWhole(listener, path, input);
      else show(input);
    };
  },
};
