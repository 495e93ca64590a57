import { findTool } from "../setup/exec.ts";

/**
 * A command in a network namespace of its own, which goes away with it: there it may make and configure interfaces.
 * @param setup shell commands that go before; `ip` is in the path
 * @param after shell commands that go after, when the command has succeeded
 */
export function inNetworkNamespace(setup: string, command: readonly string[], after?: string): string[] {
  const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  const path = `PATH=$PATH:/usr/sbin:/sbin`;
  const run = after === undefined ? `exec "$@"` : `"$@"\n${after}`;
  return ["unshare", "--net", ...asRoot, "sh", "-ec", `${path}\n${setup}\n${run}`, "sh", ...command];
}

/** Whether there can be network namespaces with TAP interfaces here. */
export function hasNetworkNamespaces(): boolean {
  if (findTool("ip") === undefined) return false;
  return Bun.spawnSync(inNetworkNamespace("ip tuntap add mode tap", ["true"])).success;
}

/**
 * Shell commands that make two TAP interfaces on a bridge, so that what is sent to one comes out of the other, and nothing
 * else but what their users send.
 * @param flags of the first one's `ip tuntap add`
 */
export function bridgedTaps(a: string, b: string, flags = ""): string {
  return [
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
    `ip tuntap add dev ${a} mode tap ${flags}`,
    `ip tuntap add dev ${b} mode tap`,
    "ip link add bridge type bridge",
    ...[a, b].map((tap) => `ip link set dev ${tap} master bridge txqueuelen 4000 up`),
    "ip link set dev bridge up",
  ].join("\n");
}

/** Shell commands that make a TAP interface out of which comes what is sent to it. */
export function echoingTap(name: string): string {
  return [
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
    `ip tuntap add dev ${name} mode tap`,
    "ip link add bridge type bridge",
    `ip link set dev ${name} master bridge up`,
    `ip link set dev ${name} type bridge_slave hairpin on`,
    "ip link set dev bridge up",
  ].join("\n");
}
