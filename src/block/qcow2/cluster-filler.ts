import { LateMemory } from "../../host/late-memory.ts";
import type { ImageFile } from "../image-file.ts";
import type { Qcow2View } from "./image.ts";
import { Mapping } from "./metadata.ts";
import type { Piece } from "./reader.ts";
import { zeroCluster } from "./refcounts.ts";

/** Puts into new clusters, for one thread, what a write leaves out of them. Under the image's lock. */
export class ClusterFiller {
  readonly #view: Qcow2View;
  readonly #file: ImageFile;
  /** A cluster. */
  readonly #copy: LateMemory;

  /** @param file that of the data */
  constructor(view: Qcow2View, file: ImageFile) {
    this.#view = view;
    this.#file = file;
    this.#copy = new LateMemory(view.metadata.clusterBytes);
  }

  close(): void {
    this.#copy.close();
  }

  /**
   * Puts part of what a cluster shows into its new place.
   * @param isFresh whether that reads as zeroes
   * @throws ImageIoError
   */
  fill(offset: number, length: number, host: number, isFresh: boolean): void {
    const { metadata, reader } = this.#view;
    for (let done = 0; done < length; ) {
      metadata.lookup(offset + done, length - done);
      const piece = reader.piece();
      const part = metadata.length;
      if (!reader.isZero(piece, offset + done)) this.#copyPiece(piece, offset + done, host + done, part);
      else if (!isFresh) this.#file.write(host + done, zeroCluster(metadata.clusterBytes), part);
      done += part;
    }
  }

  /** Puts what the file holds of part of a cluster into its new place. The rest has no data there either. @throws ImageIoError */
  keep(offset: number, length: number, host: number): void {
    const { metadata, reader } = this.#view;
    for (let done = 0; done < length; ) {
      metadata.lookup(offset + done, length - done);
      const piece = reader.piece();
      const part = metadata.length;
      if (piece.kind === Mapping.DATA || piece.kind === Mapping.COMPRESSED)
        this.#copyPiece(piece, offset + done, host + done, part);
      done += part;
    }
  }

  #copyPiece(piece: Piece, offset: number, host: number, length: number): void {
    const { address } = this.#copy.block;
    this.#view.reader.fetch(piece, offset, address, length);
    this.#file.write(host, address, length);
  }
}
