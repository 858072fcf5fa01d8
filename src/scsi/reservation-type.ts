/** Persistent reservation types by their codes in the CDB (SPC-4 table 198). */
const WRITE_EXCLUSIVE = 1;
const EXCLUSIVE_ACCESS = 3;
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5;
const EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6;
const WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7;
const EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8;

const ALL_REGISTRANTS: readonly number[] = [
  WRITE_EXCLUSIVE_ALL_REGISTRANTS,
  EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
];
const OPEN: readonly number[] = [
  WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
  EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
  ...ALL_REGISTRANTS,
];

/** Whether a code is one of the six. */
export function isReservationType(code: number): boolean {
  return code === WRITE_EXCLUSIVE || code === EXCLUSIVE_ACCESS || OPEN.includes(code);
}

/** All registrants hold it together; it lives until the last one is gone. */
export function isAllRegistrants(type: number): boolean {
  return ALL_REGISTRANTS.includes(type);
}

/** Registered nexuses that do not hold it may do what the holder may. */
export function isOpenToRegistrants(type: number): boolean {
  return OPEN.includes(type);
}

/** Readers that are not registered are let in: the odd codes, but for Exclusive Access itself. */
export function isWriteExclusive(type: number): boolean {
  return (
    type === WRITE_EXCLUSIVE ||
    type === WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
    type === WRITE_EXCLUSIVE_ALL_REGISTRANTS
  );
}

/** PERSISTENT RESERVATION TYPE MASK of REPORT CAPABILITIES (SPC-4 table 203): all six. */
export const TYPE_MASK = 0xea01;
