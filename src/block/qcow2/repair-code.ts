import { ImageCode } from "../image-code.ts";

/** What puts images in order that were not closed properly. */
export const qcow2RepairCode = new ImageCode(() => import("./restore.ts"));
