/** The program's name, in PATH and for the launcher. */
export const PASST = "passt";
/** The descriptor that it finds its end of the connection at, behind the standard ones. */
const CONNECTION_FD = 3;

/** A port of the host that leads to the guest. */
export interface Forward {
  readonly protocol: "tcp" | "udp";
  /** IPv4 or IPv6. */
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export interface PasstRequest {
  /** The guest's MAC address. */
  readonly mac: Uint8Array;
  /** Told to the guest by DHCP and NDP. */
  readonly mtu: number;
  readonly forwards: readonly Forward[];
}

/** What every passt of ours is started with (passt(1)). */
export const PASST_FIXED_ARGUMENTS = ["--foreground", "--quiet", "--fd", String(CONNECTION_FD)] as const;

const PORTS = /^[0-9A-Fa-f.:]+\/\d{1,5}:\d{1,5}$/;
/** The options that follow them, each with a value. Others of passt would write files. */
const OPTIONS: ReadonlyMap<string, RegExp> = new Map([
  ["--mtu", /^\d{1,5}$/],
  ["--tcp-ports", PORTS],
  ["--udp-ports", PORTS],
]);

/** What this passt is started with. */
export function passtArguments({ mtu, forwards }: PasstRequest): string[] {
  return [
    ...["--mtu", String(mtu)],
    ...forwards.flatMap(({ protocol, address, hostPort, guestPort }) => [
      protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
      `${address}/${hostPort}:${guestPort}`,
    ]),
  ];
}

/** Whether arguments are some that `passtArguments` makes. */
export function arePasstArguments(args: readonly string[]): boolean {
  if (args.length % 2 !== 0) return false;
  return args.every((arg, i) => i % 2 === 1 || OPTIONS.get(arg)?.test(args[i + 1] ?? "") === true);
}
