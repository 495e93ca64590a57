import { version } from "../../package.json" with { type: "json" };

/** Put in by the build: what `git describe` said, and whatever the builder appended. */
declare const CH_BUILD_VERSION: string | undefined;

/** Identifies the build: `v54.0.0-3-g1234567`, or the package's version where the build did not say. */
export const buildVersion: string = typeof CH_BUILD_VERSION === "string" ? CH_BUILD_VERSION : `v${version}`;

/** The package's version: `54.0.0`. */
export const packageVersion: string = version;
