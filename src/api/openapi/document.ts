import type { ObjectSchema } from "../../config/schema/object-schema.ts";
import { ENDPOINTS, type Endpoint, type EndpointName } from "../rest/endpoints.ts";
import { ComponentSchemas, type DocumentObject } from "./json-schema.ts";
import { addResponseSchemas, responsesOf } from "./responses.ts";

/** Version of the API: that of the document that existing clients were made from. */
const API_VERSION = "0.3.0";

function isGet({ usage }: Endpoint): boolean {
  return usage === "get" || usage === "plain-get";
}

function bodyOf(schema: ObjectSchema | undefined, schemas: ComponentSchemas): DocumentObject {
  if (schema === undefined) return {};
  return { requestBody: { required: true, content: { "application/json": { schema: schemas.object(schema) } } } };
}

/** Names that clients made from the published document know, where they do not follow from path and method. */
const OPERATION_IDS: Readonly<Partial<Record<EndpointName, string>>> = {
  "vmm.shutdown": "shutdownVMM",
  "vm.create": "createVM",
  "vm.delete": "deleteVM",
  "vm.boot": "bootVM",
  "vm.pause": "pauseVM",
  "vm.resume": "resumeVM",
  "vm.shutdown": "shutdownVM",
  "vm.reboot": "rebootVM",
  "vm.power-button": "power-buttonVM",
};

/** `vm.add-disk` as `vmAddDiskPut`: what generators make up when there is no name. */
function operationId(name: EndpointName, method: "get" | "put"): string {
  const camel = name.replaceAll(/[.-]([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return OPERATION_IDS[name] ?? `${camel}${method === "get" ? "Get" : "Put"}`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** The OpenAPI document of this build, made of the endpoints and the schemas that serve it. */
export function openApiDocument(): DocumentObject {
  const schemas = new ComponentSchemas();
  addResponseSchemas(schemas);
  const paths = (Object.entries(ENDPOINTS) as [EndpointName, Endpoint][]).map(([name, endpoint]) => {
    const method = isGet(endpoint) ? "get" : "put";
    const operation: DocumentObject = {
      operationId: operationId(name, method),
      summary: sentence(endpoint.action),
      ...bodyOf(endpoint.schema, schemas),
      responses: responsesOf(name),
    };
    return [`/${name}`, { [method]: operation }] as const;
  });
  return {
    openapi: "3.0.3",
    info: {
      title: "Cloud Hypervisor API",
      description: "Control of a virtual machine monitor and its virtual machine, over a UNIX socket.",
      license: { name: "Apache 2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
      version: API_VERSION,
    },
    servers: [{ url: "http://localhost/api/v1" }],
    paths: Object.fromEntries(paths),
    components: { schemas: schemas.all },
  };
}
