import { buildPayload } from "../payload/build.ts";
import { qemuPath } from "../payload/qemu.ts";
import { vmmPath } from "../payload/vmm.ts";
import { type Figure, median } from "./figure.ts";

const ROUNDS = 15;

/** Milliseconds from spawn to the byte that the payload's first instructions send through the debug port to stdout. */
export async function firstByteMs(command: readonly string[]): Promise<number> {
  const started = performance.now();
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const taken = performance.now() - started;
  child.kill("SIGKILL");
  await child.exited;
  if (value?.[0] !== "!".charCodeAt(0)) {
    throw new Error(`${command[0]} did not reach the first instruction`);
  }
  return taken;
}

/** Process start to the first guest instruction: 1 vCPU, 512 MiB, PVH payload; ours and QEMU's microvm in turn. */
export async function startFigures(): Promise<Figure[]> {
  const elf = await buildPayload("hello");
  const ours = [
    vmmPath(),
    ...["--kernel", elf, "--memory", "size=512M", "--cpus", "boot=1", "--serial", "null", "--console", "off"],
  ];
  const qemu = [
    qemuPath(),
    ...["-M", "microvm", "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-m", "512", "-smp", "1"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-kernel", elf],
    ...["-chardev", "stdio,id=out,signal=off", "-device", "isa-debugcon,iobase=0x402,chardev=out"],
  ];
  const times = { ours: [] as number[], qemu: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    times.ours.push(await firstByteMs(ours));
    times.qemu.push(await firstByteMs(qemu));
  }
  const [own, theirs] = [median(times.ours), median(times.qemu)];
  return [
    {
      what: "process start to first guest instruction",
      unit: "ms",
      ours: own,
      others: { "QEMU microvm": theirs },
      goal: { text: "at most 60 ms and less than QEMU", reached: own <= 60 && own < theirs },
    },
  ];
}
