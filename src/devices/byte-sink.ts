/** Where the bytes of a character device go. Called on the thread of the vCPU that sends them, and never waits. */
export interface ByteSink {
  write(byte: number): void;
}

/** Bytes go nowhere. */
export const nullSink: ByteSink = { write: () => undefined };
