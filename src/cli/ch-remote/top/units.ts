const UNKNOWN = "-";

/** A number in at most four characters of digits, and which power of `step` it counts. */
function scaled(value: number, step: number, last: number): readonly [string, number] {
  let power = 0;
  let rest = value;
  while (rest >= 999.5 && power < last) {
    rest /= step;
    power++;
  }
  return [rest < 99.95 && (power > 0 || rest % 1 !== 0) ? rest.toFixed(1) : rest.toFixed(0), power];
}

const COUNTS = ["", "k", "M", "G", "T"];

/** A number of events, as 12.3k. */
export function countText(value: number | undefined): string {
  if (value === undefined) return UNKNOWN;
  const [digits, power] = scaled(value, 1000, COUNTS.length - 1);
  return `${digits}${COUNTS[power]}`;
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A number of bytes, as 12.3 MiB. */
export function bytesText(value: number | undefined): string {
  if (value === undefined) return UNKNOWN;
  const [digits, power] = scaled(Math.round(value), 1024, SIZES.length - 1);
  return `${digits} ${SIZES[power]}`;
}

/** A share of one, as 12.3%. */
export function shareText(share: number | undefined): string {
  if (share === undefined) return UNKNOWN;
  return share < 0.9995 ? `${(share * 100).toFixed(1)}%` : `${(share * 100).toFixed(0)}%`;
}

/** How long something took, as 12.3 us. */
export function latencyText(seconds: number | undefined): string {
  if (seconds === undefined) return UNKNOWN;
  if (seconds < 999.5e-6) return `${(seconds * 1e6).toFixed(0)} us`;
  if (seconds < 0.9995) return `${(seconds * 1e3).toFixed(1)} ms`;
  return `${seconds.toFixed(1)} s`;
}

/** How long something has been, as 1:02:03, with days before it. */
export function ageText(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  const days = Math.floor(whole / 86_400);
  const clock = `${Math.floor(whole / 3600) % 24}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return days === 0 ? clock : `${days}d ${clock}`;
}
