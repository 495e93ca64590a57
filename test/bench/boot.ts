import { join } from "node:path";
import type { BootTimes } from "../lab/baseline/boot-time.ts";
import { guestAssets } from "../setup/guest-assets.ts";
import type { Figure } from "./figure.ts";
import { outputInLab } from "./lab-output.ts";

const ROUNDS = 3;
const TIMEOUT_MS = 10 * 60_000;
const MOST = 1.2;
const SCRIPT = join(import.meta.dir, "../lab/baseline/print-boot-times.ts");

/** Process start to init of a stock Debian cloud kernel (bzImage, initramfs, 1 vCPU, 512 MiB), ours and QEMU's microvm. */
export async function bootFigures(): Promise<Figure[]> {
  await guestAssets("6.12");
  const command = [process.execPath, SCRIPT, String(ROUNDS)];
  const output = await outputInLab(command, TIMEOUT_MS);
  const line = /^BOOT-TIMES (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`no boot times in: ${output}`);
  const [ours, microvm]: (BootTimes | undefined)[] = JSON.parse(line);
  if (ours === undefined || microvm === undefined) throw new Error(`not the boot times of two VMMs: ${line}`);
  return [
    {
      what: "stock Debian cloud kernel to init",
      unit: "ms",
      ours: ours.medianMs,
      others: { "QEMU microvm": microvm.medianMs },
      goal: { text: `at most ${MOST} times QEMU's microvm`, reached: ours.medianMs <= MOST * microvm.medianMs },
    },
  ];
}
