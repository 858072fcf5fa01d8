import type { Selectable } from 'kysely';
import { InternalError } from '#base/mod.ts';
import {
  LAYER_FORMATS,
  OVERLAY_WISHES,
  recordOf,
  type ImagePoint,
  type ImageRecord,
  type Layer,
  type MachineOverlay,
} from '#images/mod.ts';
import type { StateTables } from './tables.ts';

type Rows = { [T in keyof StateTables]: Selectable<StateTables[T]> };

/** A layer as its row. */
export function layerRow(layer: Layer): Rows['layers'] {
  return {
    id: layer.id,
    path: layer.path,
    format: layer.format,
    parent: layer.parent ?? null,
    size_bytes: layer.sizeBytes,
    block_bytes: layer.blockBytes,
    frozen: layer.frozen === undefined ? null : JSON.stringify(layer.frozen),
    owned: layer.owned ? 1 : 0,
    created_at_ms: Math.round(layer.createdAtMs),
    grow_to: layer.growTo ?? null,
  };
}

/** The reverse of `layerRow`. Throws InternalError for what no version of ours has written. */
export function layerOf(row: Rows['layers']): Layer {
  const format = LAYER_FORMATS.find((known) => known === row.format);
  if (format === undefined)
    throw new InternalError(`layer ${row.id} in the state file: no format "${row.format}"`);
  return {
    id: row.id,
    path: row.path,
    format,
    ...(row.parent === null ? {} : { parent: row.parent }),
    sizeBytes: row.size_bytes,
    blockBytes: row.block_bytes,
    // Only `layerRow` writes here.
    ...(row.frozen === null
      ? {}
      : { frozen: JSON.parse(row.frozen) as NonNullable<Layer['frozen']> }),
    owned: row.owned === 1,
    createdAtMs: row.created_at_ms,
    ...(row.grow_to === null ? {} : { growTo: row.grow_to }),
  };
}

/** An image as its row. */
export function imageRow(image: ImageRecord): Rows['images'] {
  const { name, head, createdAtMs, lastPoint, note, source } = recordOf(image);
  return {
    name,
    head,
    created_at_ms: Math.round(createdAtMs),
    last_point: lastPoint,
    note: note ?? null,
    source: source ?? null,
  };
}

/** The reverse of `imageRow`. */
export function imageRecord(row: Rows['images']): ImageRecord {
  return {
    name: row.name,
    head: row.head,
    createdAtMs: row.created_at_ms,
    lastPoint: row.last_point,
    ...(row.note === null ? {} : { note: row.note }),
    ...(row.source === null ? {} : { source: row.source }),
  };
}

/** A point as its row. */
export function pointRow(point: ImagePoint): Rows['image_points'] {
  return {
    image: point.image,
    number: point.number,
    layer: point.layer,
    comment: point.comment ?? null,
    created_at_ms: Math.round(point.createdAtMs),
  };
}

/** The reverse of `pointRow`. */
export function pointOf(row: Rows['image_points']): ImagePoint {
  return {
    image: row.image,
    number: row.number,
    layer: row.layer,
    ...(row.comment === null ? {} : { comment: row.comment }),
    createdAtMs: row.created_at_ms,
  };
}

/** An overlay as its row. */
export function overlayRow(overlay: MachineOverlay): Rows['machine_overlays'] {
  return {
    machine: overlay.machine,
    machine_name: overlay.machineName,
    image: overlay.image,
    layer: overlay.layer,
    host_boot: overlay.hostBoot ?? null,
    next: overlay.next ?? null,
    created_at_ms: Math.round(overlay.createdAtMs),
  };
}

/** The reverse of `overlayRow`. */
export function overlayOf(row: Rows['machine_overlays']): MachineOverlay {
  const next = OVERLAY_WISHES.find((wish) => wish === row.next);
  return {
    machine: row.machine,
    machineName: row.machine_name,
    image: row.image,
    layer: row.layer,
    ...(row.host_boot === null ? {} : { hostBoot: row.host_boot }),
    ...(next === undefined ? {} : { next }),
    createdAtMs: row.created_at_ms,
  };
}
