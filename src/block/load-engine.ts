import { IoUringUnavailableError } from "../host/io-uring/io-uring.ts";
import { logger } from "../threads/log.ts";
import type { IoEngine } from "./engine.ts";
import { SyncEngine } from "./sync-engine.ts";
import { UringEngine } from "./uring-engine.ts";

const log = logger("block");

/** What moves a disk's bytes. */
export type IoEngineKind = "io_uring" | "aio" | "synchronous";

/**
 * Opens an engine for the calling thread.
 * @param tags requests that may be under way at once
 * @param cached whether requests copy from and to the host's page cache
 * @throws SysError
 */
export type OpenEngine = (tags: number, cached: boolean) => IoEngine;

/** What makes an engine of one kind, or says that the kernel has none. */
type MakeEngine = (...of: Parameters<OpenEngine>) => IoEngine | undefined;

/**
 * Loads what the first of some kinds of engine needs that the kernel has, and what those after it need.
 * @param kinds from best to plainest; the synchronous one is there in any case
 */
export async function loadEngine(kinds: readonly IoEngineKind[]): Promise<OpenEngine> {
  const makers: MakeEngine[] = [];
  for (const kind of kinds) {
    if (kind === "io_uring") makers.push(makeUring);
    // Code takes memory in every thread that has it.
    else if (kind === "aio" && (makers.length === 0 || !hasIoUring())) makers.push(await loadAio());
  }
  return (tags, cached) => {
    for (const make of makers) {
      const engine = make(tags, cached);
      if (engine !== undefined) return engine;
    }
    log.info("requests are carried out by synchronous system calls");
    return new SyncEngine(tags);
  };
}

const makeUring: MakeEngine = (tags, cached) => {
  try {
    const engine = new UringEngine(tags, cached);
    log.info("requests are carried out by io_uring");
    return engine;
  } catch (error) {
    if (!(error instanceof IoUringUnavailableError)) throw error;
    log.warn(error.message);
    return undefined;
  }
};

async function loadAio(): Promise<MakeEngine> {
  const [{ AioEngine }, { AioUnavailableError }] = await Promise.all([
    import("./aio-engine.ts"),
    import("../host/aio.ts"),
  ]);
  return (tags) => {
    try {
      const engine = new AioEngine(tags);
      log.info("requests are carried out by Linux AIO");
      return engine;
    } catch (error) {
      if (!(error instanceof AioUnavailableError)) throw error;
      log.warn(error.message);
      return undefined;
    }
  };
}

/** Whether the kernel gives a ring that can do what is needed; found out with the smallest. */
function hasIoUring(): boolean {
  try {
    new UringEngine(1, false).close();
    return true;
  } catch (error) {
    if (!(error instanceof IoUringUnavailableError)) throw error;
    return false;
  }
}
