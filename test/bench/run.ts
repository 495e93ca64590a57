// npm run bench [start|exits|block|net|vsock|memory|idle|rate-limits|boot|tcp|api|seccomp|fuzz ...]: prints each figure next to what it is compared with, measured in the same run.

import { build } from "../run/parts.ts";
import { ensurePackages } from "../setup/packages.ts";
import { apiFigures } from "./api.ts";
import { blockFigures } from "./block.ts";
import { bootFigures } from "./boot.ts";
import { exitFigures } from "./exits.ts";
import { type Figure, formatFigure } from "./figure.ts";
import { fuzzFigures } from "./fuzz.ts";
import { idleFigures } from "./idle.ts";
import { memoryFigures } from "./memory.ts";
import { netFigures } from "./net.ts";
import { rateLimitFigures } from "./rate-limits.ts";
import { seccompFigures } from "./seccomp.ts";
import { startFigures } from "./start.ts";
import { tcpFigures } from "./tcp.ts";
import { vsockFigures } from "./vsock.ts";

const benches: Readonly<Record<string, () => Promise<Figure[]> | AsyncIterable<Figure>>> = {
  start: startFigures,
  exits: exitFigures,
  block: blockFigures,
  net: netFigures,
  vsock: vsockFigures,
  memory: memoryFigures,
  idle: idleFigures,
  "rate-limits": rateLimitFigures,
  boot: bootFigures,
  tcp: tcpFigures,
  api: apiFigures,
  seccomp: seccompFigures,
  fuzz: fuzzFigures,
};

const named = process.argv.slice(2);
const unknown = named.find((name) => !(name in benches));
if (unknown !== undefined) {
  console.error(`no benchmark ${unknown}; there are: ${Object.keys(benches).join(", ")}`);
  process.exit(2);
}
await ensurePackages(["gcc", "binutils", "fio", "iproute2", "libc6-dev", "qemu-system-x86", "qemu-utils"]);
if (!(await build())) {
  process.exit(1);
}
for (const [name, measure] of Object.entries(benches)) {
  if (named.length > 0 && !named.includes(name)) {
    continue;
  }
  try {
    for await (const figure of await measure()) {
      console.log(formatFigure(figure));
    }
  } catch (error) {
    console.error(`${name}: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
