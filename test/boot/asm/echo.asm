; Boot sector: prints a line, then repeats what it is given, from the keyboard and the serial line,
; on the screen and the serial line. Esc resets the machine.
        bits 16
        org 0x7c00

start:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, start
        cld
        mov si, ready
.line:  lodsb
        test al, al
        jz listen
        call put
        jmp .line

listen: mov dx, 0x3fd           ; line status of COM1: bit 0 = a byte has come
        in al, dx
        test al, 1
        jz .keys
        mov dx, 0x3f8
        in al, dx
        jmp .got
.keys:  mov ah, 1               ; is a key waiting?
        int 0x16
        jz listen
        xor ah, ah
        int 0x16
.got:   cmp al, 27
        je reset
        test al, al             ; keys without a character
        jz listen
        call put
        cmp al, 13
        jne listen
        mov al, 10
        call put
        jmp listen

reset:  mov al, 0xfe            ; the keyboard controller pulls the reset line
        out 0x64, al
        hlt

; AL to the screen and to COM1; keeps all registers that matter here
put:    push ax
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        mov ah, al
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20           ; may send
        jz .wait
        mov al, ah
        mov dx, 0x3f8
        out dx, al
        pop ax
        ret

ready:  db 'ECHO READY ', 0xc9, 0xcd, 0xbb, 13, 10, 0

        times 510-($-$$) db 0
        dw 0xaa55
        times 1024*1024-($-$$) db 0     ; a disk of 1 MiB
