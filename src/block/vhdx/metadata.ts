import { Errno } from "../../host/errno.ts";
import { scratch } from "../../host/scratch.ts";
import { logger } from "../../threads/log.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import { BlockTable } from "./block-table.ts";
import { HeaderPair } from "./header.ts";
import { type BlockGeometry, type Extent, GUID_BYTES, SECTOR } from "./layout.ts";
import { LogWriter } from "./log-writer.ts";
import { type VhdxShared, Word } from "./shared.ts";

const log = logger("vhdx");

/** Where the metadata of an image lies. */
export interface VhdxLayout {
  readonly geometry: BlockGeometry;
  readonly log: Extent;
  /** Of the block table in the file. */
  readonly tableOffset: number;
  /** Whether blocks that hold no data keep the places that their entries name. */
  readonly keepsPlaces: boolean;
}

const ALL_ZERO = new Uint8Array(GUID_BYTES);

/**
 * Changes the metadata of an open image so that the file is in order after a cut at any moment: the headers tell that it is
 * being changed, and changes of the block table go through the log. To be used under the image's lock.
 */
export class VhdxMetadata {
  readonly table: BlockTable;
  readonly #shared: VhdxShared;
  readonly #file: ImageFile;
  readonly #headers: HeaderPair;
  readonly #log: LogWriter;
  readonly #blockBytes: number;

  constructor(shared: VhdxShared, file: ImageFile, { geometry, log, tableOffset, keepsPlaces }: VhdxLayout) {
    this.#shared = shared;
    this.#file = file;
    this.#headers = new HeaderPair(file, shared.headers);
    this.#log = new LogWriter(file, shared.logEntry, log);
    this.#blockBytes = geometry.blockBytes;
    const relieve = (): void => {
      if (!this.isDirty) return;
      this.refuseIfBroken();
      this.writeBack();
    };
    this.table = new BlockTable(shared, file, geometry, { offset: tableOffset, keepsPlaces, relieve });
  }

  get isDirty(): boolean {
    return this.#shared.words[Word.DIRTY_SLOTS] !== 0;
  }

  /** @throws ImageIoError when nothing may be written any more */
  refuseIfBroken(): void {
    if (this.#shared.words[Word.BROKEN] !== 0)
      throw new ImageIoError("nothing is written to the image any more", Errno.EIO);
  }

  /** To be called before anything is changed that a user of the disk can see (2.2.2). @throws ImageIoError */
  begin(): void {
    const { words, fileWriteGuid, dataWriteGuid } = this.#shared;
    if (words[Word.BEGUN] !== 0) return;
    this.#orGiveUp(() => this.#headers.update({ FILE_WRITE_GUID: fileWriteGuid, DATA_WRITE_GUID: dataWriteGuid }));
    if (words[Word.IS_SHORT] !== 0) this.#extend(words[Word.FILE_END] ?? 0);
    words[Word.BEGUN] = 1;
  }

  /** A place for a block at the file's end, which reads as zeroes. It is only taken when `keep` follows. @throws ImageIoError */
  place(): number {
    const { words } = this.#shared;
    const host = words[Word.FILE_END] ?? 0;
    this.#extend(host + this.#blockBytes);
    if (words[Word.HAS_REMAINS] !== 0) this.#file.zero(host, this.#blockBytes, true);
    words[Word.HAS_REMAINS] = 1;
    return host;
  }

  /** Takes the place that `place` gave. */
  keep(host: number): void {
    const { words } = this.#shared;
    words[Word.FILE_END] = host + this.#blockBytes;
    words[Word.HAS_REMAINS] = 0;
  }

  /**
   * Makes durable what was written, and then the changes of the block table that refer to it: in the log first and then in
   * their places (2.3).
   * @throws ImageIoError
   */
  writeBack(): void {
    const { words } = this.#shared;
    const { table } = this;
    this.#orGiveUp(() => this.#file.sync());
    for (let from = 0; this.isDirty; ) {
      this.#log.begin();
      const to = table.forDirty(from, words[Word.USED_SLOTS] ?? 0, (offset, bytes) => this.#log.add(offset, bytes));
      this.#writeEntry();
      this.#orGiveUp(() => {
        this.#file.sync();
        if (words[Word.LOG_IS_USED] === 0) {
          // From now on the log is looked at: it holds an entry already.
          this.#headers.update({ LOG_GUID: this.#shared.logGuid });
          words[Word.LOG_IS_USED] = 1;
        }
        table.forDirty(from, to, (offset, _bytes, address) => {
          this.#file.write(offset, address, SECTOR);
          return true;
        });
        table.clean(from, to);
        if (this.isDirty) this.#file.sync();
      });
      from = to;
    }
  }

  /** Leaves the file as one whose log is empty. @throws ImageIoError */
  end(): void {
    const { words } = this.#shared;
    this.writeBack();
    if (words[Word.LOG_IS_USED] === 0) return;
    this.#file.sync();
    this.#headers.update({ LOG_GUID: ALL_ZERO });
    words[Word.LOG_IS_USED] = 0;
  }

  /** Makes the file so long by writing its last byte, which nothing else is in. */
  #extend(bytes: number): void {
    const { u8, address } = scratch();
    u8[0] = 0;
    this.#file.write(bytes - 1, address, 1);
  }

  #writeEntry(): void {
    const { words, logGuid } = this.#shared;
    const sequence = (words[Word.LOG_ENTRIES] ?? 0) + 1;
    this.#log.write({ guid: logGuid, sequence, fileBytes: words[Word.FILE_END] ?? 0 });
    words[Word.LOG_ENTRIES] = sequence;
  }

  /** A change that fails leaves it open what is in the file: nothing more may be written. */
  #orGiveUp(change: () => void): void {
    try {
      change();
    } catch (error) {
      this.#shared.words[Word.BROKEN] = 1;
      log.error(`nothing is written to the image any more: ${error instanceof Error ? error.message : error}`);
      throw error;
    }
  }
}
