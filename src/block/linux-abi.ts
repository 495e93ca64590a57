import { _IO, _IOR } from "../host/ioctl.ts";

/** Block device requests, as linux/fs.h defines them. */

const BLOCK = 0x12;

export const BlockRequest = {
  /** Takes an array of start and length, in bytes. */
  BLKDISCARD: _IO(BLOCK, 119),
  /** As BLKDISCARD. */
  BLKZEROOUT: _IO(BLOCK, 127),
  BLKSSZGET: _IO(BLOCK, 104),
  BLKIOMIN: _IO(BLOCK, 120),
  BLKIOOPT: _IO(BLOCK, 121),
  BLKPBSZGET: _IO(BLOCK, 123),
  BLKGETSIZE64: _IOR(BLOCK, 114, 8),
} as const;
