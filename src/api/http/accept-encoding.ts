/**
 * Whether a client that sends this `Accept-Encoding` takes a response as it is (RFC 9110, section 12.5.3): not when it refuses
 * `identity` by name, or everything that it does not name.
 */
export function acceptsIdentity(value: string): boolean {
  if (value.trim() === "") return false;
  let named = false;
  let starRefused = false;
  for (const part of value.split(",")) {
    const [coding = "", ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
    const refused = parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter));
    if (coding === "identity") {
      if (refused) return false;
      named = true;
    }
    if (coding === "*" && refused) starRefused = true;
  }
  return named || !starRefused;
}
