/** ioctl request numbers (asm-generic/ioctl.h): direction 2 bits, size 14, type 8, number 8. */
const encode = (direction: number, type: number, nr: number, size: number): number =>
  direction * 0x4000_0000 + (size << 16) + (type << 8) + nr;

/** A request without argument structure. */
export const _IO = (type: number, nr: number): number => encode(0, type, nr, 0);
/** A request that the kernel reads `size` bytes for. */
export const _IOW = (type: number, nr: number, size: number): number => encode(1, type, nr, size);
/** A request that the kernel writes `size` bytes for. */
export const _IOR = (type: number, nr: number, size: number): number => encode(2, type, nr, size);
/** A request that does both. */
export const _IOWR = (type: number, nr: number, size: number): number => encode(3, type, nr, size);
