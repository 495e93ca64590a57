import { expect, test } from "bun:test";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { echo, VsockHost } from "../../payload/vsock-host.ts";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, unexpectedWarnings, vmm } from "./support.ts";

const { CH_LAB_FULL } = process.env;
const MIB = 1 << 20;
/** Through each of the streams. */
const STREAM_MIB = CH_LAB_FULL === "1" ? 64 : 1;
const STREAMS = 16;
const CONNECTIONS = 1000;
const READY_MS = 60_000;
const BULK_MS = CH_LAB_FULL === "1" ? 1_200_000 : 120_000;

/** Each MiB of stream `index` is this line over and over, as `yes` writes it. */
const lineOf = (index: number): string => `stream ${index} goes through a socket of its own`;

function* partsOf(index: number): Generator<Buffer> {
  const part = Buffer.alloc(MIB, `${lineOf(index)}\n`);
  for (let i = 0; i < STREAM_MIB; i++) yield part;
}

function md5OfStream(index: number): string {
  const hasher = new Bun.CryptoHasher("md5");
  for (const part of partsOf(index)) hasher.update(part);
  return hasher.digest("hex");
}

/** The checksum of all that a socket brings. */
async function md5Of(socket: Socket): Promise<string> {
  const hasher = new Bun.CryptoHasher("md5");
  for await (const part of socket) hasher.update(part);
  return hasher.digest("hex");
}

test(
  `socat both ways, ${CONNECTIONS} connections at once each way, ${STREAMS} streams of ${STREAM_MIB} MiB at once each way`,
  async () => {
    await using host = await VsockHost.make();
    const assets = await assetsOf("6.12");
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 512,
      console: "hvc0",
      ...toolsRoot(assets),
      options: host.options,
    });
    await guest.ready();
    const guestHas = (path: string): string =>
      `i=0; while [ ! -s ${path} ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done`;

    // socat, each way, with both ends of each direction closed one after the other.
    await host.serveEcho(52);
    expect(await guest.run("echo from the guest | socat -t 30 - VSOCK-CONNECT:2:52")).toBe("from the guest");
    await guest.run("socat VSOCK-LISTEN:53 PIPE >/run/echo 2>&1 &");
    expect((await echo(await host.connectWhenReady(53, READY_MS), Buffer.from("from the host"))).toString()).toBe(
      "from the host",
    );
    const refused = await guest.try("socat - VSOCK-CONNECT:2:99");
    expect(refused.status).not.toBe(0);
    expect(refused.output).toContain("Connection reset by peer");

    const dialled = await guest.run(`vsock-connections dial 52 ${CONNECTIONS}`, BULK_MS);
    expect(dialled).toBe(`${CONNECTIONS} open\n${CONNECTIONS} echoed`);
    await guest.run(`vsock-connections answer 54 ${CONNECTIONS} >/run/answer 2>&1 & ${guestHas("/run/answer")}`);
    const sockets: Socket[] = [];
    for (let i = 0; i < CONNECTIONS; i++) sockets.push(await host.connect(54));
    const back = await Promise.all(sockets.map((socket, i) => echo(socket, Buffer.from(`connection ${i}`))));
    expect(back.map(String)).toEqual(sockets.map((_, i) => `connection ${i}`));
    await guest.run(`i=0; until grep -q answered /run/answer || [ $i -gt 100 ]; do sleep 0.1; i=$((i+1)); done`);
    expect(await guest.run("cat /run/answer")).toBe(`listening\n${CONNECTIONS} answered`);

    const wanted = Array.from({ length: STREAMS }, (_, i) => md5OfStream(i));
    const toHost = Array.from({ length: STREAMS }, async (_, i) => {
      const stream = Promise.withResolvers<Socket>();
      await host.serve(100 + i, stream.resolve);
      return md5Of(await stream.promise);
    });
    const senders = Array.from(
      { length: STREAMS },
      (_, i) =>
        `yes '${lineOf(i)}' | dd of=/run/part${i} bs=64k count=16 iflag=fullblock 2>/dev/null; ` +
        `for n in $(seq ${STREAM_MIB}); do cat /run/part${i}; done | socat -u -b 65536 - VSOCK-CONNECT:2:${100 + i} &`,
    );
    await guest.run(`${senders.join(" ")} wait`, BULK_MS);
    expect(await Promise.all(toHost)).toEqual(wanted);

    const receivers = Array.from(
      { length: STREAMS },
      (_, i) => `socat -u -b 65536 VSOCK-LISTEN:${200 + i} - | md5sum >/run/sum${i} &`,
    );
    await guest.run(`${receivers.join(" ")} true`);
    await Promise.all(
      wanted.map(async (_, i) => {
        const socket = await host.connectWhenReady(200 + i, READY_MS);
        const over = new Promise((close) => socket.on("close", close));
        Readable.from(partsOf(i)).pipe(socket.resume());
        await over;
      }),
    );
    const sums = Array.from({ length: STREAMS }, (_, i) => `${guestHas(`/run/sum${i}`)}; cut -c1-32 /run/sum${i}`);
    expect((await guest.run(sums.join("; "), BULK_MS)).split("\n")).toEqual(wanted);

    expect(await unexpectedWarnings(guest)).toEqual([]);
    expect(await guest.powerOff("poweroff -f")).toBe(0);
  },
  CASE_TIMEOUT_MS + 2 * BULK_MS,
);
