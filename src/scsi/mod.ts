export * from './command.ts';
export { REPORT_LUNS_LUN } from './lun.ts';
export type { ReservationStore, UnitIdentity, UnitOptions } from './profile.ts';
export type { PersistentState } from './reservation.ts';
export type { CommandRow } from './table.ts';
export { LogicalUnitSet } from './unit-set.ts';
export type { UnitSetOptions } from './unit-set.ts';
export { LogicalUnit } from './unit.ts';
