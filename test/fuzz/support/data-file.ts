import { readFileSync, writeFileSync } from "node:fs";
import { Header } from "../../../src/block/qcow2/layout.ts";

const DATA_FILE_NAME = 0x4441_5441;

/**
 * Gives the data file of a qcow2 image another name, so that what a run does is the same in every folder. Header extensions behind
 * the name are lost.
 * @param name as long as the old one at most
 */
export function nameDataFile(path: string, name: string): void {
  const image = readFileSync(path);
  const at = image.readUInt32BE(Header.LENGTH);
  if (image.readUInt32BE(at) !== DATA_FILE_NAME) throw new Error(`${path} has no name of a data file to begin with`);
  const length = image.readUInt32BE(at + 4);
  image.writeUInt32BE(name.length, at + 4);
  image.fill(0, at + 8, at + 8 + length).write(name, at + 8);
  writeFileSync(path, image);
}
