export * from './command.ts';
export { REPORT_LUNS_LUN, decodeLun, encodeLun } from './lun.ts';
export type { ReservationStore, UnitIdentity, UnitOptions } from './profile.ts';
export type { PersistentState } from './reservation.ts';
export { Sense, SenseKey, ScsiError, Status, encodeSense } from './sense.ts';
export type { SenseCode, SenseDetails } from './sense.ts';
export { LogicalUnitSet } from './unit-set.ts';
export type { UnitSetOptions } from './unit-set.ts';
export { LogicalUnit } from './unit.ts';
