import { ImageCode } from "../image-code.ts";

/** What images with extended L2 entries need, or with their data in another file. */
export const placedCode = new ImageCode(() => import("./placed-metadata.ts"));
