import { openTap } from "../../src/net/tap.ts";

// with-taps.ts TAP[:QUEUES] ... -- COMMAND: runs the command with the queues of these TAP interfaces open from fd 3 on.

const split = process.argv.indexOf("--");
const fds = process.argv.slice(2, split).flatMap((argument) => {
  const [name = "", queues = "1"] = argument.split(":");
  return openTap({ name, queues: Number(queues), address: undefined, hostMac: undefined, mtu: undefined }).fds;
});
const child = Bun.spawn(process.argv.slice(split + 1), { stdio: ["inherit", "inherit", "inherit", ...fds] });
process.exit(await child.exited);
