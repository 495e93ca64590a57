import { nested, struct, u8, u16, u32, u32s, u64 } from "../struct.ts";

/** The io_uring ABI (linux/io_uring.h). */

export const ioSqringOffsets = struct("io_sqring_offsets", {
  head: u32,
  tail: u32,
  ring_mask: u32,
  ring_entries: u32,
  flags: u32,
  dropped: u32,
  array: u32,
  resv1: u32,
  user_addr: u64,
});

export const ioCqringOffsets = struct("io_cqring_offsets", {
  head: u32,
  tail: u32,
  ring_mask: u32,
  ring_entries: u32,
  overflow: u32,
  cqes: u32,
  flags: u32,
  resv1: u32,
  user_addr: u64,
});

export const ioUringParams = struct("io_uring_params", {
  sq_entries: u32,
  cq_entries: u32,
  flags: u32,
  sq_thread_cpu: u32,
  sq_thread_idle: u32,
  features: u32,
  wq_fd: u32,
  resv: u32s(3),
  sq_off: nested(ioSqringOffsets),
  cq_off: nested(ioCqringOffsets),
});

/** A submission, with the union members that code here uses. */
export const ioUringSqe = struct("io_uring_sqe", {
  opcode: u8,
  flags: u8,
  ioprio: u16,
  fd: u32,
  off: u64,
  addr: u64,
  len: u32,
  rw_flags: u32,
  user_data: u64,
  buf_index: u16,
  personality: u16,
  file_index: u32,
  addr3: u64,
  pad2: u64,
});

export const ioUringCqe = struct("io_uring_cqe", { user_data: u64, res: u32, flags: u32 });

/** struct io_uring_restriction, whose union holds one byte: a number of what `opcode` says. */
export const ioUringRestriction = struct("io_uring_restriction", { opcode: u16, value: u8, resv: u8, resv2: u32s(3) });

export const ioUringProbeOp = struct("io_uring_probe_op", { op: u8, resv: u8, flags: u16, resv2: u32 });

/** struct io_uring_probe without its array of io_uring_probe_op. */
export const ioUringProbe = struct("io_uring_probe", { last_op: u8, ops_len: u8, resv: u16, resv2: u32s(3) });

/** IORING_OP_* */
export const IoUringOp = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  POLL_ADD: 6,
  READ: 22,
  WRITE: 23,
} as const;

/** IORING_SETUP_* */
export const SETUP_CQSIZE = 1 << 3;
export const SETUP_CLAMP = 1 << 4;
export const SETUP_R_DISABLED = 1 << 6;
export const SETUP_SUBMIT_ALL = 1 << 7;
export const SETUP_COOP_TASKRUN = 1 << 8;
export const SETUP_SINGLE_ISSUER = 1 << 12;
export const SETUP_DEFER_TASKRUN = 1 << 13;
export const SETUP_NO_SQARRAY = 1 << 16;

/** IORING_FEAT_SINGLE_MMAP */
export const FEAT_SINGLE_MMAP = 1 << 0;
/** IORING_FEAT_RSRC_TAGS: as old as polls that go on (IORING_POLL_ADD_MULTI). */
export const FEAT_RSRC_TAGS = 1 << 10;

/** Offsets that choose what mmap maps: IORING_OFF_* */
export const OFF_SQ_RING = 0;
export const OFF_CQ_RING = 0x800_0000;
export const OFF_SQES = 0x1000_0000;

/** IORING_ENTER_* */
export const ENTER_GETEVENTS = 1 << 0;

/** IORING_REGISTER_*, IORING_UNREGISTER_* */
export const REGISTER_FILES = 2;
export const REGISTER_PROBE = 8;
export const REGISTER_RESTRICTIONS = 11;
export const REGISTER_ENABLE_RINGS = 12;

/** IORING_RESTRICTION_*: what a restriction allows. */
export const RESTRICTION_REGISTER_OP = 0;
export const RESTRICTION_SQE_OP = 1;
export const RESTRICTION_SQE_FLAGS_ALLOWED = 2;

/** IO_URING_OP_SUPPORTED of io_uring_probe_op.flags. */
export const OP_SUPPORTED = 1 << 0;
/** IOSQE_* of io_uring_sqe.flags. */
export const SQE_FIXED_FILE = 1 << 0;
export const SQE_ASYNC = 1 << 4;
/** RWF_NOWAIT of io_uring_sqe.rw_flags (linux/fs.h). */
export const RWF_NOWAIT = 0x8;
/** IORING_FSYNC_DATASYNC of io_uring_sqe.fsync_flags. */
export const FSYNC_DATASYNC = 1 << 0;
/** IORING_POLL_ADD_MULTI, in io_uring_sqe.len. */
export const POLL_ADD_MULTI = 1 << 0;
/** IORING_CQE_F_MORE: the submission will give further completions. */
export const CQE_F_MORE = 1 << 1;
