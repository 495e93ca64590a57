import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { findTool, SetupError } from "../setup/exec.ts";
import { hostAssets } from "../setup/host-assets.ts";

export interface LabOptions {
  /** Folder to run in; the process's own by default. */
  readonly cwd?: string;
  /** Environment of the command, next to HOME, PATH, TERM, LANG and all that begins with CH_ or XDG_. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly cpus?: number;
  readonly memoryMiB?: number;
  /** Further kernel modules for the host, of those in test/setup/host-assets.ts. */
  readonly modules?: readonly string[];
  /** Give the command a terminal, bridged to the one of this process. */
  readonly terminal?: boolean;
  /** Gets the command's output (stdout and stderr as one) as it comes; this process's stdout by default. */
  readonly onOutput?: (chunk: Uint8Array) => void;
}

export interface LabResult {
  /** Exit status of the command. */
  readonly status: number;
  readonly milliseconds: number;
}

/** The emulated host did not come up, or did not end in time. Status 125, as `timeout` and containers have it. */
export class LabError extends Error {
  override readonly name = "LabError";
  /** The emulated host itself died: neither the command nor its time was over. */
  readonly hostDied: boolean;

  constructor(message: string, hostDied: boolean) {
    super(message);
    this.hostDied = hostDied;
  }
}

/** Of a failed lab: how much of its own messages is shown. */
const LOG_TAIL = 6000;

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function jobScript(command: readonly string[], options: LabOptions): string {
  const environment: Record<string, string> = { TMPDIR: "/dev/shm" };
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && /^(HOME|PATH|TERM|LANG|CH_.*|XDG_.*)$/.test(name)) environment[name] = value;
  }
  const exports = Object.entries({ ...environment, ...options.env, CH_LAB: "direct", CH_LAB_EMULATED: "1" });
  return [
    ...exports.map(([name, value]) => `export ${name}=${quote(value)}`),
    `cd ${quote(options.cwd ?? process.cwd())} || exit 125`,
    ...(options.terminal === true
      ? [`stty rows ${process.stdout.rows ?? 24} cols ${process.stdout.columns ?? 80}`]
      : []),
    `exec ${command.map(quote).join(" ")}`,
    "",
  ].join("\n");
}

/**
 * A processor that hangs in the kernel for a minute, by the emulation's fault as no program can do that, is a panic with traces of all
 * processors: else the lab would wait for its time to be over. kernel-parameters.txt, and sysctl/kernel.rst
 */
const FATAL_LOCKUPS = [
  ...["watchdog_thresh=30", "softlockup_panic=1", "softlockup_all_cpu_backtrace=1"],
  ...["rcupdate.rcu_cpu_stall_timeout=60", "sysctl.kernel.panic_on_rcu_stall=1"],
];

function qemuArguments(job: string, assets: { kernel: string; initramfs: string }, options: LabOptions): string[] {
  const append = ["console=ttyS0", "quiet", "loglevel=5", "panic=-1", "mitigations=off", "intel_iommu=on", "iommu=pt"];
  // Under load the emulated timer may be late for the kernel's test of it, which is a panic.
  append.push("no_timer_check");
  append.push(...FATAL_LOCKUPS, `lab.job=${job}`);
  if (options.modules !== undefined) append.push(`lab.modules=${options.modules.join(",")}`);
  if (options.terminal === true) append.push("lab.tty");
  const output =
    options.terminal === true ? "virtconsole,chardev=output" : "virtserialport,chardev=output,name=lab.output";
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none"],
    ...["-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "EPYC"],
    ...["-device", "intel-iommu,intremap=on"],
    ...["-m", String(options.memoryMiB ?? 4096), "-smp", String(options.cpus ?? 2)],
    ...["-kernel", assets.kernel, "-initrd", assets.initramfs, "-append", append.join(" ")],
    ...["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap"],
    ...["-serial", `file:${join(job, "console")}`],
    ...["-device", "virtio-serial-pci", "-chardev", "stdio,id=output,signal=off", "-device", output],
    ...["-chardev", `file,id=status,path=${join(job, "status")}`],
    ...["-device", "virtserialport,chardev=status,name=lab.status"],
  ];
}

/** The end of a kernel log, or what follows the first sign of a crash in it. */
function essence(log: string): string {
  const crash = log.search(/^.*(\bBUG\b|Oops|Kernel panic|int3|rcu: INFO|general protection|unable to handle)/m);
  return crash === -1 ? log.slice(-LOG_TAIL) : log.slice(crash, crash + LOG_TAIL);
}

async function contents(path: string): Promise<string> {
  const file = Bun.file(path);
  return (await file.exists()) ? (await file.text()).trim() : "";
}

async function pump(stream: ReadableStream<Uint8Array>, sink: (chunk: Uint8Array) => void): Promise<void> {
  for await (const chunk of stream) sink(chunk);
}

/**
 * Runs a command on an emulated KVM host: QEMU's TCG with AMD SVM, a stock Debian kernel with kvm_amd, and this machine's own root
 * file system (over 9p), so paths and programs are the same inside. /dev/shm and /run are the host's own memory; TMPDIR is there.
 *
 * The host dies with this process, whatever way that ends.
 * @throws LabError when the host does not come up or the time is over; the message has the ends of its logs.
 */
export async function runInLab(command: readonly string[], options: LabOptions): Promise<LabResult> {
  const assets = await hostAssets();
  const job = await scratchDir("lab");
  try {
    await Bun.write(join(job, "job"), jobScript(command, options));
    return await boot(job, assets, options);
  } finally {
    await rm(job, { recursive: true, force: true });
  }
}

async function boot(
  job: string,
  assets: { kernel: string; initramfs: string },
  options: LabOptions,
): Promise<LabResult> {
  const qemu = findTool("qemu-system-x86_64");
  const setpriv = findTool("setpriv");
  if (qemu === undefined || setpriv === undefined) throw new SetupError("qemu-system-x86_64 and setpriv are needed");
  const started = performance.now();
  const terminal = options.terminal === true;
  const child = Bun.spawn([setpriv, "--pdeathsig", "KILL", qemu, ...qemuArguments(job, assets, options)], {
    // Never written to: at its end of file QEMU would take the output port for unplugged.
    stdin: terminal ? "inherit" : "pipe",
    stdout: terminal ? "inherit" : "pipe",
    stderr: Bun.file(join(job, "stderr")),
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutMs);
  try {
    if (child.stdout instanceof ReadableStream) {
      await pump(child.stdout, options.onOutput ?? ((chunk) => process.stdout.write(chunk)));
    }
    await child.exited;
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
  const milliseconds = performance.now() - started;
  const status = /^exit (\d+)$/m.exec(await contents(join(job, "status")))?.[1];
  if (status !== undefined) return { status: Number(status), milliseconds };
  const what = timedOut
    ? `did not end within ${Math.round(options.timeoutMs / 1000)} s`
    : `ended by itself, status ${child.exitCode ?? child.signalCode}, without one from the command`;
  const logs = [await contents(join(job, "stderr")), essence(await contents(join(job, "console")))].filter(
    (log) => log !== "",
  );
  throw new LabError([`The emulated KVM host ${what}`, ...logs].join("\n"), !timedOut);
}
