export const SERVICE_NAME = "front";
export const IN_GENERIC = "in.gen";
export const ENRICH = "enrich";
export const ENRICH_TIMEOUT = 1000;
