import type { ExportConfig, PortalAddress } from '#iscsi/mod.ts';
import type { UnitOptions } from '#scsi/mod.ts';

/** One logical unit of a lab target. */
export type LabUnit = {
  readonly lun: number;
  /** A raw file. */
  readonly file: string;
  /** Up to 36 characters; the unit's name for ever. */
  readonly serial: string;
  readonly blockBytes?: number;
  readonly readOnly?: boolean;
  /** Where persistent reservations with APTPL and saved mode pages are kept. */
  readonly stateFolder?: string;
} & Pick<UnitOptions, 'kind' | 'removable' | 'cache' | 'physicalBlockBytes'>;

/** What `target-process.ts` serves: plain data, passed as one JSON argument. */
export type LabTargetConfig = {
  readonly portals: readonly PortalAddress[];
  readonly targets: readonly (ExportConfig & { readonly units: readonly LabUnit[] })[];
};
