import { errno, libc } from "../../../src/host/libc.ts";
import { mapAnonymous, Prot } from "../../../src/host/mmap.ts";

/** What a thread that somebody has taken over might try. Each does no harm where it succeeds. */
export const ACTS = [
  "execve",
  "open /etc/passwd",
  "open for writing",
  "socket of the network",
  "socket of the host",
  "connect",
  "ptrace",
  "mount",
  "new namespace",
  "new process",
  "map a file executable",
  "make memory executable",
  "ioctl TIOCSTI",
  "ioctl KVM_CREATE_VM",
  "io_uring_setup",
  "bpf",
  "init_module",
  "process_vm_writev",
  "userfaultfd",
  "kill",
  "signal of another kind",
  "signal to another process",
] as const;
export type Act = (typeof ACTS)[number];

/** System calls (asm/unistd_64.h), and numbers for them. */
const NR = {
  open: 2,
  mmap: 9,
  mprotect: 10,
  ioctl: 16,
  socket: 41,
  connect: 42,
  clone: 56,
  execve: 59,
  kill: 62,
  ptrace: 101,
  mount: 165,
  initModule: 175,
  openat: 257,
  unshare: 272,
  processVmWritev: 311,
  bpf: 321,
  userfaultfd: 323,
  ioUringSetup: 425,
  tgkill: 234,
} as const;
const AT_FDCWD = 0xffff_ff9c;
const O_WRONLY = 1;
const AF_UNIX = 1;
const AF_INET = 2;
const SOCK_STREAM = 1;
const PTRACE_ATTACH = 16;
/** Contradict each other, so that nothing comes of it. */
const CLONE_NEWNS_AND_FS = 0x2_0200;
const CLONE_NEWUSER = 0x1000_0000;
const MAP_PRIVATE = 2;
const TIOCSTI = 0x5412;
const KVM_CREATE_VM = 0xae01;
const NOBODY = 0x7fff_ffff;
const SIGILL = 4;
const SIGUSR1 = 10;

/**
 * Makes ready to try: memory and descriptors that the acts use are had before any filter.
 * @returns what tries one, and says what came of it: "done", or an errno
 */
export function prepareActs(): (act: Act) => "done" | number {
  const text = (value: string): number => {
    const block = mapAnonymous(value.length + 1);
    block.u8.set(new TextEncoder().encode(value));
    return block.address;
  };
  const [nowhere, passwd, nothing] = [text("/nonexistent/program"), text("/etc/passwd"), text("/nonexistent/file")];
  const page = mapAnonymous(4096);
  const file = libc.open(text("/proc/self/exe"), 0, 0);
  const kvm = libc.open(text("/dev/kvm"), 2, 0);
  const call = (nr: number, ...args: number[]): number => {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
    return libc.syscall(nr, a, b, c, d, e, f);
  };
  const acts: Record<Act, () => number> = {
    execve: () => call(NR.execve, nowhere, 0, 0),
    "open /etc/passwd": () => call(NR.openat, AT_FDCWD, passwd, 0, 0),
    "open for writing": () => call(NR.open, nothing, O_WRONLY, 0),
    "socket of the network": () => call(NR.socket, AF_INET, SOCK_STREAM, 0),
    "socket of the host": () => call(NR.socket, AF_UNIX, SOCK_STREAM, 0),
    connect: () => call(NR.connect, NOBODY, page.address, 16),
    ptrace: () => call(NR.ptrace, PTRACE_ATTACH, NOBODY),
    mount: () => call(NR.mount, nothing, nothing, nothing, 0, 0),
    "new namespace": () => call(NR.unshare, CLONE_NEWUSER | CLONE_NEWNS_AND_FS),
    "new process": () => call(NR.clone, CLONE_NEWNS_AND_FS, 0),
    "map a file executable": () => call(NR.mmap, 0, 4096, Prot.READ | Prot.EXEC, MAP_PRIVATE, file, 0),
    "make memory executable": () => call(NR.mprotect, page.address, 4096, Prot.READ | Prot.EXEC),
    "ioctl TIOCSTI": () => call(NR.ioctl, NOBODY, TIOCSTI, page.address),
    "ioctl KVM_CREATE_VM": () => call(NR.ioctl, kvm, KVM_CREATE_VM, 0),
    io_uring_setup: () => call(NR.ioUringSetup, 0, page.address),
    bpf: () => call(NR.bpf, NOBODY, page.address, 0),
    init_module: () => call(NR.initModule, page.address, 0, nothing),
    process_vm_writev: () => call(NR.processVmWritev, NOBODY, page.address, 0, page.address, 0, 1),
    userfaultfd: () => call(NR.userfaultfd, NOBODY),
    kill: () => call(NR.kill, NOBODY, SIGUSR1),
    "signal of another kind": () => call(NR.tgkill, process.pid, NOBODY, SIGUSR1),
    "signal to another process": () => call(NR.tgkill, NOBODY, NOBODY, SIGILL),
  };
  return (act) => (acts[act]() < 0 ? errno() : "done");
}
