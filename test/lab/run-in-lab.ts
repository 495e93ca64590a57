// Runs a command on the emulated KVM host: bun test/lab/run-in-lab.ts [-t SECONDS] [-i] [-m MODULE,...] -- COMMAND...
import { parseArgs } from "node:util";
import { LabError, runInLab } from "./host.ts";

const { values, positionals } = parseArgs({
  options: {
    timeout: { type: "string", short: "t", default: "300" },
    interactive: { type: "boolean", short: "i", default: false },
    modules: { type: "string", short: "m" },
    cpus: { type: "string", short: "c", default: "2" },
    memory: { type: "string", default: "4096" },
  },
  allowPositionals: true,
});
if (positionals.length === 0) {
  console.error("usage: run-in-lab.ts [-t SECONDS] [-i] [-m MODULE,...] [-c CPUS] [--memory MIB] -- COMMAND...");
  process.exit(2);
}
try {
  const { status } = await runInLab(positionals, {
    timeoutMs: Number(values.timeout) * 1000,
    terminal: values.interactive,
    cpus: Number(values.cpus),
    memoryMiB: Number(values.memory),
    ...(values.modules === undefined ? {} : { modules: values.modules.split(",") }),
  });
  process.exitCode = status;
} catch (error) {
  if (!(error instanceof LabError)) throw error;
  console.error(error.message);
  process.exitCode = 125;
}
