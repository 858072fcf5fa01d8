; Master boot record: finds the active partition, loads its boot sector to 0000:7C00 and jumps to it
; with DL = drive and DS:SI = the partition's entry, as DOS expects. At most 440 bytes.
; Every failure says what is wrong and waits for a key, then lets the BIOS try again (INT 19h).
bits 16
cpu 8086
org 0x600

table   equ 0x600 + 446
loaded  equ 0x7c00

start:
        cli
        xor ax, ax
        mov ss, ax
        mov sp, loaded
        sti
        cld
        mov ds, ax
        mov es, ax
        mov si, loaded              ; out of the way of the boot sector to come
        mov di, 0x600
        mov cx, 256
        rep movsw
        jmp 0:relocated

relocated:
        cmp dl, 0x80                ; a BIOS that does not say which drive means the first
        jae .drive_known
        mov dl, 0x80
.drive_known:
        mov si, table
        mov cx, 4
.find:  cmp byte [si], 0x80
        je .found
        add si, 16
        loop .find
        mov si, msg_none
        jmp fail

.found: mov byte [tries], 3
.load:  mov ah, 0x41                ; does the BIOS take sector numbers beyond CHS?
        mov bx, 0x55aa
        push dx                     ; some change DL and CX
        push si
        int 0x13
        pop si
        pop dx
        jc .by_chs
        cmp bx, 0xaa55
        jne .by_chs
        test cl, 1
        jz .by_chs
        mov word [packet + 2], 1    ; a BIOS that failed has put 0 here
        mov ax, [si + 8]
        mov [packet + 8], ax
        mov ax, [si + 10]
        mov [packet + 10], ax
        mov ah, 0x42
        push si
        mov si, packet
        int 0x13
        pop si
        jmp .after
.by_chs:
        push dx
        mov dh, [si + 1]
        mov cx, [si + 2]
        mov bx, loaded
        mov ax, 0x0201
        int 0x13
        pop dx
.after: jnc .check
        xor ah, ah                  ; reset the drive, try again
        int 0x13
        dec byte [tries]
        jnz .load
        mov si, msg_read
        jmp fail
.check: cmp word [loaded + 510], 0xaa55
        mov bp, si                  ; Microsoft's boot sectors look for the entry here too
        je .go
        mov si, msg_sector
        jmp fail
.go:    jmp 0:loaded

fail:   lodsb
        or al, al
        jz .wait
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp fail
.wait:  xor ah, ah
        int 0x16
        int 0x19
        jmp .wait

packet: db 16, 0
        dw 1                        ; sectors
        dw loaded, 0                ; to 0000:7C00
        dd 0, 0                     ; from
tries:  db 3

msg_none   db "Polyboot: no partition of this disk is marked active.", 13, 10
           db "Press a key to try again.", 13, 10, 0
msg_read   db "Polyboot: the active partition cannot be read.", 13, 10, 0
msg_sector db "Polyboot: the active partition has no boot sector.", 13, 10, 0

%if ($ - $$) > 440
%error the code must end before the disk signature
%endif
