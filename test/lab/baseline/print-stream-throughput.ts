// Prints one line with the throughput of streams: bun test/lab/baseline/print-stream-throughput.ts MIB ROUNDS
import { guestAssets } from "../../setup/guest-assets.ts";
import { compareStreams } from "./stream-throughput.ts";

const [mib = 64, rounds = 3] = process.argv.slice(2).map(Number);
console.log(`STREAMS ${JSON.stringify(await compareStreams(await guestAssets("6.12"), mib, rounds))}`);
