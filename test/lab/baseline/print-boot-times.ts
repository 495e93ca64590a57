// Boots ours and QEMU's microvm in turn on this host and prints the times as one line of JSON: print-boot-times.ts ROUNDS
import { guestAssets } from "../../setup/guest-assets.ts";
import { compareBoots } from "./boot-time.ts";

const times = await compareBoots(await guestAssets("6.12"), "bzImage", Number(process.argv[2] ?? 3));
console.log(`BOOT-TIMES ${JSON.stringify(times)}`);
process.exit(0);
