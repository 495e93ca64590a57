/** Connections of a device, those included that are coming up or going down. */
export const MAX_CONNECTIONS = 1023;

/** 32-bit words of a connection in the device's block: whether there is one, its host port, its guest port. */
export const PAIR_WORDS = 3;
/** Words for all of them. */
export const PAIRS_WORDS = MAX_CONNECTIONS * PAIR_WORDS;
