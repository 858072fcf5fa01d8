/** Persistent reservation types (SPC-4 table 198), by their codes in the CDB. */
export const ReservationType = {
  WRITE_EXCLUSIVE: 1,
  EXCLUSIVE_ACCESS: 3,
  WRITE_EXCLUSIVE_REGISTRANTS_ONLY: 5,
  EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: 6,
  WRITE_EXCLUSIVE_ALL_REGISTRANTS: 7,
  EXCLUSIVE_ACCESS_ALL_REGISTRANTS: 8,
} as const;

/** Whether a code is one of the six. */
export function isReservationType(code: number): boolean {
  return code === 1 || code === 3 || (code >= 5 && code <= 8);
}

/** All registrants hold it together; it lives until the last one is gone. */
export function isAllRegistrants(type: number): boolean {
  return type >= 7;
}

/** Registered nexuses that do not hold it may do what the holder may. */
export function isOpenToRegistrants(type: number): boolean {
  return type >= 5;
}

/** Readers that are not registered are let in. */
export function isWriteExclusive(type: number): boolean {
  return type === 1 || type === 5 || type === 7;
}

/** PERSISTENT RESERVATION TYPE MASK of REPORT CAPABILITIES (SPC-4 table 203): all six. */
export const TYPE_MASK = 0xea01;
