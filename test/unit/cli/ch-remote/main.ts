import { chRemote } from "../../../../src/cli/ch-remote/ch-remote.ts";

process.exit(chRemote(process.argv.slice(2)));
