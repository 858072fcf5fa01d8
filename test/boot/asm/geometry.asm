; MBR boot code: what the BIOS says of each hard disk, from 0x80 on, one line each on the serial port:
;
;   DRIVE 80 1024/255/63 <first four bytes of the last sector that C/H/S reaches>
;
; The geometry is INT 13h AH=08h; the sector is read by AH=02h at the highest cylinder, head and
; sector, so a line is right only if the BIOS maps them as it says. The last line is END.
        bits 16
        org 0x7c00

BUFFER  equ 0x8000

start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, start
        cld
        mov byte [drive], 0x80

next:   mov ah, 8
        mov dl, [drive]
        xor di, di              ; ES:DI = 0 guards against a BIOS that reads it
        push es
        int 0x13
        pop es
        jc done
        mov [highest], cx
        mov [head], dh

        mov si, t_drive
        call text
        mov al, [drive]
        call hex
        mov al, ' '
        call put
        mov ax, [highest]       ; CH = cylinder, low eight bits; CL bits 7-6 = its high bits
        xchg al, ah
        shr ah, 6
        inc ax
        call decimal
        call slash
        movzx ax, byte [head]
        inc ax
        call decimal
        call slash
        mov ax, [highest]
        and ax, 63
        call decimal
        mov al, ' '
        call put

        mov ax, 0x0201
        mov bx, BUFFER
        mov cx, [highest]
        mov dh, [head]
        mov dl, [drive]
        int 0x13
        jc .bad
        mov si, BUFFER
        mov byte [BUFFER + 4], 0
        jmp .say
.bad:   mov si, t_bad
.say:   call text
        mov si, t_line
        call text
        inc byte [drive]
        jmp next

done:   mov si, t_end
        call text
.halt:  hlt
        jmp .halt

text:   lodsb
        test al, al
        jz back
        call put
        jmp text

slash:  mov al, '/'
put:    pusha
        mov ah, al
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, 0x3f8
        out dx, al
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        popa
back:   ret

hex:    push ax
        shr al, 4
        call digit
        pop ax
        and al, 15
digit:  add al, '0'
        cmp al, '9'
        jbe put
        add al, 'a' - '9' - 1
        jmp put

decimal:
        mov bx, 10
        xor cx, cx
.split: xor dx, dx
        div bx
        push dx
        inc cx
        test ax, ax
        jnz .split
.print: pop ax
        add al, '0'
        call put
        loop .print
        ret

t_drive db 'DRIVE ', 0
t_bad   db 'READ ERROR', 0
t_end   db 'END'
t_line  db 13, 10, 0

; variables, behind the code and not stored
drive   equ 0x7000
highest equ 0x7002
head    equ 0x7004

%if ($ - $$) > 440
%error the boot code runs into the partition table
%endif
