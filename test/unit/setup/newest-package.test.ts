import { expect, test } from "bun:test";
import { newestFirst } from "../../setup/debian.ts";

const CLOUD = /^linux-image-6\.1\.0-\d+-cloud-amd64$/;

test("versions are compared as numbers, and signed packages come before unsigned ones", () => {
  const names = [
    "linux-image-6.1.0-9-cloud-amd64",
    "linux-image-6.1.0-11-cloud-amd64-unsigned",
    "linux-image-6.1.0-10-cloud-amd64",
    "linux-image-6.1.0-10-cloud-amd64-dbg",
    "linux-image-6.1.0-10-amd64",
  ];
  expect(newestFirst(names, CLOUD)).toEqual([
    "linux-image-6.1.0-10-cloud-amd64",
    "linux-image-6.1.0-9-cloud-amd64",
    "linux-image-6.1.0-11-cloud-amd64-unsigned",
  ]);
});
