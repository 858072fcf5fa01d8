console.log('t');
