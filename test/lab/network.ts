import { findTool, run, runText, SetupError } from "../setup/exec.ts";
import { ensurePackages } from "../setup/packages.ts";

/** A tap as `addTap` makes it. */
export interface TapOptions {
  /** Bridge it is a port of. */
  readonly bridge?: string;
  /** Address and prefix length of the host's side, e.g. `10.0.0.1/24`. */
  readonly address?: string;
  readonly multiQueue?: boolean;
  /** Numeric id of the user who may open it without CAP_NET_ADMIN. */
  readonly user?: number;
  readonly mtu?: number;
}

/** A program that runs until it is stopped or its network is disposed. */
export interface Server {
  /** What it has said so far, stdout and stderr as one. */
  readonly output: () => string;
  readonly exited: Promise<number>;
}

const READY_TIMEOUT_MS = 60_000;

function tool(name: string): string {
  const path = findTool(name);
  if (path === undefined) throw new SetupError(`${name} is not installed on this machine`);
  return path;
}

/** Whether this user may make networks: they need root. */
export function canMakeNetworks(): boolean {
  return process.getuid?.() === 0;
}

/**
 * A network namespace of its own with the bridges, taps and servers of a test; all of it is gone when this is disposed, and when
 * this process ends in whatever way. Needs root.
 */
export class TestNetwork implements AsyncDisposable {
  readonly #holder: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #children: Bun.Subprocess[] = [];

  private constructor(holder: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.#holder = holder;
  }

  static async make(): Promise<TestNetwork> {
    await ensurePackages(["iproute2", "socat", "iperf3", "dnsmasq-base"]);
    // Ends by itself at the end of its input, that is with this process.
    const script = `${tool("ip")} link set lo up && echo ready && exec cat >/dev/null`;
    const holder = Bun.spawn([tool("unshare"), "--net", "sh", "-c", script], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    const { value } = await holder.stdout.getReader().read();
    if (value === undefined) throw new SetupError("unshare --net failed");
    return new TestNetwork(holder);
  }

  /** The words before a command that run it in this network. */
  get enter(): readonly [string, string, string] {
    return [tool("nsenter"), `--net=/proc/${this.#holder.pid}/ns/net`, "--"];
  }

  /** Runs a program in this network and returns what it prints. @throws SetupError when it fails */
  run(...command: string[]): Promise<string> {
    return runText([...this.enter, ...command]);
  }

  /** Runs ip(8) in this network. */
  async ip(...words: string[]): Promise<void> {
    await run([...this.enter, tool("ip"), ...words]);
  }

  async addBridge(name: string, options: { readonly address?: string; readonly mtu?: number } = {}): Promise<void> {
    await this.ip("link", "add", name, "type", "bridge", "forward_delay", "0");
    if (options.mtu !== undefined) await this.ip("link", "set", name, "mtu", String(options.mtu));
    if (options.address !== undefined) await this.ip("address", "add", options.address, "dev", name);
    await this.ip("link", "set", name, "up");
  }

  async addTap(name: string, options: TapOptions = {}): Promise<void> {
    const { bridge, address, multiQueue, user, mtu } = options;
    await this.ip(
      ...["tuntap", "add", "dev", name, "mode", "tap"],
      ...(multiQueue === true ? ["multi_queue"] : []),
      ...(user === undefined ? [] : ["user", String(user)]),
    );
    if (mtu !== undefined) await this.ip("link", "set", name, "mtu", String(mtu));
    if (bridge !== undefined) await this.ip("link", "set", name, "master", bridge);
    if (address !== undefined) await this.ip("address", "add", address, "dev", name);
    await this.ip("link", "set", name, "up");
  }

  /** Makes a macvtap above an interface; returns its character device. */
  async addMacvtap(name: string, parent: string, macAddress: string): Promise<string> {
    await this.ip(
      "link",
      "add",
      "link",
      parent,
      "name",
      name,
      "address",
      macAddress,
      "type",
      "macvtap",
      "mode",
      "bridge",
    );
    await this.ip("link", "set", name, "up");
    const index = (await this.run("cat", `/proc/self/net/dev_snmp6/${name}`)).match(/ifIndex\s+(\d+)/)?.[1];
    if (index === undefined) throw new SetupError(`no index of ${name}`);
    return `/dev/tap${index}`;
  }

  /** Starts a program in this network and waits until it has said `ready`. It is killed with the network. */
  async serve(command: readonly string[], ready: RegExp): Promise<Server> {
    const saidReady = Promise.withResolvers<void>();
    let output = "";
    const child = Bun.spawn([tool("setpriv"), "--pdeathsig", "KILL", ...this.enter, ...command], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#children.push(child);
    const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        output += decoder.decode(chunk, { stream: true });
        if (ready.test(output)) saidReady.resolve();
      }
    };
    const over = Promise.all([read(child.stdout), read(child.stderr), child.exited]);
    const timer = setTimeout(() => saidReady.reject(new SetupError("not ready in time")), READY_TIMEOUT_MS);
    void over.then(() => saidReady.reject(new SetupError(`ended with status ${child.exitCode}`)), saidReady.reject);
    try {
      await saidReady.promise;
    } catch (error) {
      throw new SetupError(`${command.join(" ")}: nothing like ${ready} in:\n${output}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
    return { output: () => output, exited: child.exited };
  }

  /** Gives addresses of a range to whoever asks on an interface. */
  serveDhcp(device: string, first: string, last: string): Promise<Server> {
    const options = [
      "--no-daemon",
      "--conf-file=/dev/null",
      "--port=0",
      "--user=root",
      "--pid-file=",
      "--leasefile-ro",
    ];
    const what = [
      `--interface=${device}`,
      "--bind-interfaces",
      `--dhcp-range=${first},${last},1h`,
      "--dhcp-authoritative",
    ];
    return this.serve([tool("dnsmasq"), ...options, ...what], /DHCP, (sockets bound|IP range)/);
  }

  /** Sends a file to whoever connects first. */
  serveFile(path: string, port: number): Promise<Server> {
    return this.serve([tool("socat"), "-d", "-d", "-u", `OPEN:${path}`, `TCP-LISTEN:${port}`], /listening on/);
  }

  /** Writes what the first who connects sends to a file; ends with the connection. */
  serveSink(path: string, port: number): Promise<Server> {
    return this.serve([tool("socat"), "-d", "-d", "-u", `TCP-LISTEN:${port}`, `CREATE:${path}`], /listening on/);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    this.#holder.kill("SIGKILL");
    await Promise.all([...this.#children, this.#holder].map(({ exited }) => exited));
  }
}
