/** Flags of fallocate(2) (linux/falloc.h). */
export const AllocateFlag = { KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, ZERO_RANGE: 0x10 } as const;
