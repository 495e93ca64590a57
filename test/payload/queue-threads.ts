import { threadAffinity } from "../../src/host/thread.ts";

/** The option of a disk that gives each queue a thread of its own, on whatever CPU, however few the host has. */
export const threadEach = (queues: number): string =>
  `,queue_affinity=[${Array.from({ length: queues }, (_, queue) => `${queue}@[${threadAffinity()}]`)}]`;
