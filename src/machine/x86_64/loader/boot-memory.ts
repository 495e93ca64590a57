/** Guest RAM as the loaders see it. It reads as zeros before they start. */
export interface BootMemory {
  /** Copies into RAM. The range has been checked with `contains`. */
  write(gpa: number, bytes: Uint8Array): void;
  /**
   * Copies `length` bytes of an open file, from `fileOffset` on, into RAM. The range has been checked with `contains`, and
   * lay inside the file when it was opened.
   * @throws where the file cannot be read or ends early
   */
  readFile(fd: number, fileOffset: number, gpa: number, length: number): void;
  /** Whether [gpa, gpa + length) is RAM throughout, whatever backs its parts. */
  contains(gpa: number, length: number): boolean;
}
