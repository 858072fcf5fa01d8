import type { ExportConfig, PortalAddress } from '#iscsi/mod.ts';

/** One logical unit of a lab target: a disk with a write cache. */
export type LabUnit = {
  readonly lun: number;
  /** A raw file. */
  readonly file: string;
  /** Letters and digits; the unit's name for ever. */
  readonly serial: string;
  /** Where persistent reservations with APTPL and saved mode pages are kept. */
  readonly stateFolder?: string;
};

/** What `target-process.ts` serves: plain data, passed as one JSON argument. */
export type LabTargetConfig = {
  readonly portals: readonly PortalAddress[];
  readonly targets: readonly (ExportConfig & { readonly units: readonly LabUnit[] })[];
};
