import { ImageCode } from "../image-code.ts";

/** What opens VHDX images. */
export const vhdxCode = new ImageCode(() => import("./open.ts"));
