import type { Endpoint } from "../rest/endpoints.ts";

/** Where a scraper asks: outside the REST API, which is another's contract. */
export const METRICS_PATH = "/metrics";

/** The metrics of process and VM. Nothing is looked at, or even loaded, until somebody asks. */
export const METRICS: Endpoint = {
  usage: "get",
  action: "tell the metrics",
  run: async ({ control, identity: { version } }) => {
    const [{ exposition, EXPOSITION_TYPE }, { metricFamilies }, { processNumbers }] = await Promise.all([
      import("./exposition.ts"),
      import("./families.ts"),
      import("./process-numbers.ts"),
    ]);
    const body = exposition(metricFamilies(version, await control.metrics(), processNumbers()));
    return { status: 200, body, contentType: EXPOSITION_TYPE };
  },
};
