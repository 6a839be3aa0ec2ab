export const ENRICH = "enrich";
