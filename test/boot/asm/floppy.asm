; Boot sector of the first of two floppies: shows the hard disk's geometry, reads its first sector,
; asks for the second floppy, and copies that one's second sector to the disk (LBA 9).
        bits 16
        org 0x7c00

BUFFER  equ 0x8000

start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, start
        cld
        mov si, t_one
        call text

        mov ah, 8               ; geometry of the first hard disk
        mov dl, 0x80
        int 0x13
        jc failed
        push cx
        mov al, dh              ; the highest head
        call hex
        pop ax
        and al, 0x3f            ; sectors of a track
        call hex
        mov si, t_line
        call text

        xor ax, ax
        mov es, ax
        mov ax, 0x0201          ; read its sector 0
        mov bx, BUFFER
        mov cx, 1
        mov dx, 0x0080
        int 0x13
        jc failed
        cmp word [BUFFER + 510], 0xaa55
        jne failed
        mov si, t_read
        call text

ask:    mov si, t_ask
        call text
        xor ah, ah              ; any key
        int 0x16
        mov bp, 4               ; the first read after a change reports just that
.again: xor ax, ax
        xor dl, dl
        int 0x13
        mov ax, 0x0201
        mov bx, BUFFER
        mov cx, 2
        xor dx, dx
        int 0x13
        jnc .got
        dec bp
        jnz .again
        jmp failed
.got:   cmp word [BUFFER], 'SE'
        jne ask

        mov ax, 0x0301
        mov bx, BUFFER
        mov cx, 0x000a
        mov dx, 0x0080
        int 0x13
        jc failed
        mov si, t_wrote
        call text
halt:   hlt
        jmp halt

failed: mov si, t_failed
        call text
        jmp halt

hex:    push ax
        shr al, 4
        call .digit
        pop ax
        and al, 15
.digit: add al, '0'
        cmp al, '9'
        jbe .out
        add al, 7
.out:   mov ah, 0x0e
        mov bx, 7
        int 0x10
        ret

text:   lodsb
        test al, al
        jz .end
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp text
.end:   ret

t_one   db 'FLOPPY ONE, HEAD AND SECTOR ', 0
t_read  db 'DISK READ', 13, 10, 0
t_ask   db 'INSERT FLOPPY TWO AND PRESS A KEY'
t_line  db 13, 10, 0
t_wrote db 'WROTE IT', 13, 10, 0
t_failed db 'FAILED', 13, 10, 0

        times 510 - ($ - $$) db 0
        dw 0xaa55
