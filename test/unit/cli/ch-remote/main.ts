import { chRemote } from "../../../../src/cli/ch-remote/ch-remote.ts";

process.exit(await chRemote(process.argv.slice(2)));
