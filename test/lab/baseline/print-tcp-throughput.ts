// Measures TCP throughput under ours and QEMU's microvm in turn on this host and prints it as one line of JSON:
// print-tcp-throughput.ts ROUNDS SECONDS
import { guestAssets } from "../../setup/guest-assets.ts";
import { cloudHypervisor, qemuMicrovm, qemuMicrovmVhost } from "../vmm.ts";
import { measureTcp } from "./tcp-throughput.ts";

const [rounds = 2, seconds = 2] = process.argv.slice(2).map(Number);
const drivers = [cloudHypervisor, qemuMicrovm, qemuMicrovmVhost];
console.log(`TCP ${JSON.stringify(await measureTcp(drivers, await guestAssets("6.12"), rounds, seconds))}`);
process.exit(0);
