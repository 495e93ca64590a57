import { DiskImageError } from "./image-error.ts";

/**
 * Code that few images need, which would take memory of every thread. Images are opened synchronously, so it is loaded beforehand,
 * where that can be awaited.
 */
export class ImageCode<Code> {
  readonly #load: () => Promise<Code>;
  #loaded: Code | undefined;

  constructor(load: () => Promise<Code>) {
    this.#load = load;
  }

  /** Loads the code into the calling thread, unless it is there. */
  async load(): Promise<void> {
    this.#loaded ??= await this.#load();
  }

  /** The code, undefined until it has been loaded. */
  get loaded(): Code | undefined {
    return this.#loaded;
  }

  /**
   * The code, for an image that was looked at before, to load what it needs.
   * @param path the image
   * @throws DiskImageError when it has not been loaded: the image was another one then
   */
  for(path: string): Code {
    if (this.#loaded === undefined) throw new DiskImageError(path, "was changed while it was opened: start again");
    return this.#loaded;
  }
}
