/** System calls without a C library wrapper (asm/unistd_64.h, asm-generic/unistd.h for AArch64). */
const x64 = {
  futex: 202,
  tgkill: 234,
  pidfd_open: 434,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
};
const arm64 = {
  futex: 98,
  tgkill: 131,
  pidfd_open: 434,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
};

export const Sys = process.arch === "arm64" ? arm64 : x64;
